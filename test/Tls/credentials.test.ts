import * as Config from "effect/Config"
import { Tls } from "effect-transport"
import { credentialsSuite } from "../suite/CredentialsSuite.js"

credentialsSuite("TlsLive", Tls.layer, Tls.layerConfig(Config.succeed({})))
