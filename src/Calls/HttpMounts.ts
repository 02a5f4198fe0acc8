/** The apps that answer plain HTTP requests beside the calls of a transport. */
import * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Peer from "../Transport/Peer.js"

/** Answers one request of a peer. A rejection is the handler's own fault. */
export type Handler = (request: Request, peer: Peer.Peer) => Promise<Response>

/** What an app requires of whoever mounts it: the rest comes with each request. */
export type Required<R> = Exclude<R, Peer.CurrentPeer | Scope.Scope | HttpServerRequest.HttpServerRequest>

/** The handler of an app, in the runtime of whoever mounts it. */
export const handlerOf = <E, R>(app: HttpApp.Default<E, R>): Effect.Effect<Handler, never, Required<R>> =>
  Effect.map(Effect.runtime<Required<R>>(), (runtime): Handler => {
    // The peer is in the context of each request, and of none before.
    const handle = HttpApp.toWebHandlerRuntime(runtime)(app as HttpApp.Default<E, Required<R> | Scope.Scope>)
    return (request, peer) => handle(request, Context.make(Peer.CurrentPeer, peer) as Context.Context<never>)
  })

/** The handlers of a transport, of which the last answers. */
export interface HttpMounts {
  readonly mount: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
  /** Undefined where nothing is mounted. */
  readonly current: () => Handler | undefined
}

export const make = (): HttpMounts => {
  const handlers: Array<Handler> = []
  return {
    mount: (handler) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          handlers.push(handler)
        }),
        () =>
          Effect.sync(() => {
            handlers.splice(handlers.lastIndexOf(handler), 1)
          })
      ),
    current: () => handlers.at(-1)
  }
}
