import * as Config from "effect/Config"
import { Quic } from "effect-transport"
import { credentialsSuite } from "../CredentialsSuite.js"

credentialsSuite("QuicLive", Quic.layer, Quic.layerConfig(Config.succeed({})))
