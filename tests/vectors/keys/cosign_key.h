/* A throw-away key for tests/unit/test_keys.c: PKCS#8 by openssl, and encrypted with "s3cret" by an independent program in
 * Python whose files cosign 3.1.3 reads. The older label differs in one word. */
#define COSIGN_KEY_PLAIN \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg23HrgvrRp7bXTO2U\n" \
    "EfTvbuy8u+d5lNHSRHVuF5qOE+ShRANCAARr5hvxj3PJ/37xmoJ2OvaCYfYbJrdZ\n" \
    "IHMUoV6LpHC78E+N86gnT3luwnoU8B2QmMyjWDrZRIfWC521uK2Dca4v\n" \
    "-----END PRIVATE KEY-----\n"
#define COSIGN_KEY \
    "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n" \
    "eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6\n" \
    "OCwicCI6MX0sInNhbHQiOiJ0Nm1mQXp5eDRIeERNVVRhWDFyMVY1MHkrUlZKbVgw\n" \
    "V0lweDRIb0laRFFFPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94\n" \
    "Iiwibm9uY2UiOiIzWjNHeG00SUxnajg1cERmS0dPZmJ2V3FaWWZJell5NiJ9LCJj\n" \
    "aXBoZXJ0ZXh0IjoiUHpVWG9LZlFlWFVZamtxMXRYUWtLRWw2S0JYcVF1S3ZwWHRt\n" \
    "a05zbFJ4eHhBb2RPTXdDR0dXcXR0U3FsTkY0UDhqN1lZbHN6TEhCVHhsT3BYZ1h1\n" \
    "c1ZoSDZubHI0akxSTVJwbktGc0F0SFZGQlplRU1ocTRHMjR1OHBJYU1LWUR0UlMy\n" \
    "Vll6ajA2RllyYXlOOCtJcmlpcWhuamVtb2F4UGIvOHpXZThSa3NxVWFnWEN3MEsw\n" \
    "TGIycTBoR2cwT08wNkZaOVRxdXlJTDV2Rnc9PSJ9\n" \
    "-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
#define COSIGN_KEY_OLD \
    "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n" \
    "eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6\n" \
    "OCwicCI6MX0sInNhbHQiOiJ0Nm1mQXp5eDRIeERNVVRhWDFyMVY1MHkrUlZKbVgw\n" \
    "V0lweDRIb0laRFFFPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94\n" \
    "Iiwibm9uY2UiOiIzWjNHeG00SUxnajg1cERmS0dPZmJ2V3FaWWZJell5NiJ9LCJj\n" \
    "aXBoZXJ0ZXh0IjoiUHpVWG9LZlFlWFVZamtxMXRYUWtLRWw2S0JYcVF1S3ZwWHRt\n" \
    "a05zbFJ4eHhBb2RPTXdDR0dXcXR0U3FsTkY0UDhqN1lZbHN6TEhCVHhsT3BYZ1h1\n" \
    "c1ZoSDZubHI0akxSTVJwbktGc0F0SFZGQlplRU1ocTRHMjR1OHBJYU1LWUR0UlMy\n" \
    "Vll6ajA2RllyYXlOOCtJcmlpcWhuamVtb2F4UGIvOHpXZThSa3NxVWFnWEN3MEsw\n" \
    "TGIycTBoR2cwT08wNkZaOVRxdXlJTDV2Rnc9PSJ9\n" \
    "-----END ENCRYPTED COSIGN PRIVATE KEY-----\n"
