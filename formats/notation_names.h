/* Words of notation's envelopes (Notary Project signature specification 1.0). Private to formats/notation*.c. */
#ifndef FORMATS_NOTATION_NAMES_H
#define FORMATS_NOTATION_NAMES_H

#define NOTATION_PAYLOAD_MEDIA "application/vnd.cncf.notary.payload.v1+json"
#define NOTATION_SCHEME "io.cncf.notary.signingScheme"
#define NOTATION_SCHEME_X509 "notary.x509"
#define NOTATION_TIME "io.cncf.notary.signingTime"
#define NOTATION_EXPIRY "io.cncf.notary.expiry"

#endif
