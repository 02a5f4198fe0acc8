import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { transportNames } from "../../shared/transports.js"

/** What the environment says of this node. Its certificate and key come from there too, see `Credentials.layerConfig`. */
export class NodeConfig extends Effect.Service<NodeConfig>()("cluster/NodeConfig", {
  effect: Config.all({
    /** Unique in the cluster. */
    name: Config.nonEmptyString("NODE_NAME"),
    host: Config.string("NODE_HOST").pipe(Config.withDefault("127.0.0.1")),
    /** 0 lets the system choose. */
    port: Config.integer("NODE_PORT").pipe(Config.withDefault(0)),
    transport: Config.literal(...transportNames)("NODE_TRANSPORT")
  })
}) {}
