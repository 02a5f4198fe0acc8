import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as Guard from "./guard.js"
import * as Handlers from "./handlers.js"
import * as Nodes from "./Nodes.js"
import * as Page from "./Page.js"
import * as Server from "./Server.js"
import { type Choice, transports } from "./transports.js"

interface Options {
  /** The port on 127.0.0.1; 0 lets the system choose. */
  readonly port: number
  /** What to start a node of. Default: all transports. */
  readonly choices?: ReadonlyArray<Choice> | undefined
}

/** The whole app, for as long as its layer lives. First to come and last to go are the nodes. */
export const layer = ({ choices = transports, port }: Options) =>
  HttpApiBuilder.serve().pipe(
    Layer.provide(Layer.mergeAll(Page.layer, Guard.layer)),
    Layer.provide(Handlers.layer),
    Layer.provideMerge(Server.layer(port)),
    Layer.provideMerge(Nodes.layer(choices))
  )
