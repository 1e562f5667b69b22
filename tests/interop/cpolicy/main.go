// cpolicy pulls one image under a containers-policy.json with the library that skopeo, podman, buildah and CRI-O share,
// because distributions (Debian 12) ship those with its sigstore half compiled out. Built by tests/interop/tools.sh.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
)

func run(policyFile, registries, from, to string) error {
	policy, err := signature.NewPolicyFromFile(policyFile)
	if err != nil {
		return err
	}
	judge, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	source, err := docker.ParseReference("//" + from)
	if err != nil {
		return err
	}
	target, err := directory.NewReference(to)
	if err != nil {
		return err
	}
	system := &types.SystemContext{RegistriesDirPath: registries, DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	_, err = copy.Image(context.Background(), judge, target, source,
		&copy.Options{SourceCtx: system, DestinationCtx: system, PreserveDigests: true})
	return err
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: cpolicy POLICY.json REGISTRIES.D HOST/REPO:TAG DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "rejected:", err)
		os.Exit(1)
	}
	fmt.Println("accepted")
}
