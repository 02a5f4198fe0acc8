import { Tls } from "effect-transport"
import { credentialsSuite } from "../CredentialsSuite.js"

credentialsSuite("TlsLive", Tls.layer)
