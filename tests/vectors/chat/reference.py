"""What transformers renders, for make_chat.py and random_chat.py: its own compiled template with a fixed date."""
import datetime, json
import transformers.utils.chat_template_utils as utils


class Fixed(datetime.datetime):
    moment = datetime.datetime(2026, 3, 14, 15, 9, 26)

    @classmethod
    def now(cls, tz=None):
        return cls.moment


utils.datetime = Fixed


def render(case):
    """The steps of apply_chat_template that come before render_jinja_template, then it."""
    messages = [{k: v for k, v in m.items() if v is not None} for m in case["messages"]]
    variables = {**case.get("tokens", {}), **case.get("variables", {})}
    return utils.render_jinja_template(
        conversations=[messages], tools=case.get("tools"), documents=case.get("documents"), chat_template=case["template"],
        add_generation_prompt=case.get("add_generation_prompt", False), **variables)[0][0]
