import { Quic } from "effect-transport"
import { credentialsSuite } from "../CredentialsSuite.js"

credentialsSuite("QuicLive", Quic.layer)
