import * as Config from "effect/Config"
import { Tls } from "effect-transport"
import { credentialsSuite } from "../suite/CredentialsSuite.js"

credentialsSuite("TlsLive", {
  layer: Tls.layer,
  layerConfig: Tls.layerConfig(Config.succeed({})),
  wire: "TLS"
})
