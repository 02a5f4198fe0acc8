/** What is done around a handler, folded into one function for each shape when its route is made. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { IncomingCall } from "../IncomingCall.js"
import type * as Method from "../Method.js"
import type { Done, ServerList } from "../Middleware/ServerMiddleware.js"
import type { StatusError } from "../TransportError.js"
import { toStatus } from "./handlerStatus.js"

// What they require is in the context that the handler's fiber is started with, or provided by a layer before.
type AnyEffect = Effect.Effect<unknown, unknown>
type AnyStream = Stream.Stream<unknown, unknown>
type Requests = Stream.Stream<unknown, StatusError>
type Sending<A> = Effect.Effect<A, StatusError>

/** The steps of one middleware, or an authorizer. */
export interface Layer {
  readonly wrap?: ((call: IncomingCall, next: Effect.Effect<Done, StatusError>) => AnyEffect) | undefined
  readonly onRequest?: ((request: unknown, call: IncomingCall) => AnyEffect) | undefined
}

/** The layers of a list of middleware that do something around the calls of a method. */
export const make = (middleware: ServerList, method: Method.Any): ReadonlyArray<Layer> =>
  middleware.flatMap((each) => {
    const steps = each.forMethod(method)
    return steps === undefined ? [] : [steps as Layer]
  })

/** Each layer sees what is behind it fail with a status, as the caller will. */
const settled = <A>(effect: Effect.Effect<A, unknown>, call: IncomingCall): Sending<A> =>
  Effect.catchAllCause(effect, (cause) => toStatus(cause, call))

const wrapped =
  (wrap: NonNullable<Layer["wrap"]>) =>
  <A>(next: Sending<A>, call: IncomingCall): Sending<A> =>
    // A middleware can't tell what the rest of a call succeeds with, and can succeed with nothing else.
    settled(
      Effect.suspend(() => wrap(call, next as unknown as Sending<Done>) as Effect.Effect<A, unknown>),
      call
    )

type Handle = (request: unknown, call: IncomingCall) => AnyEffect

/** A unary handler with all layers around it, the first outermost. */
export const aroundUnary = (layers: ReadonlyArray<Layer>, run: Handle): Handle =>
  layers.reduceRight<(request: unknown, call: IncomingCall) => Sending<unknown>>(
    (next, { onRequest, wrap }) => {
      const checked: typeof next =
        onRequest === undefined
          ? next
          : (request, call) =>
              Effect.zipRight(
                settled(
                  Effect.suspend(() => onRequest(request, call)),
                  call
                ),
                next(request, call)
              )
      if (wrap === undefined) {
        return checked
      }
      const around = wrapped(wrap)
      return (request, call) => around(checked(request, call), call)
    },
    (request, call) => settled(run(request, call), call)
  )

/** The layers around the sending of a stream's messages. */
export const aroundSending = (layers: ReadonlyArray<Layer>) => {
  const all = layers.flatMap(({ wrap }) => (wrap === undefined ? [] : [wrapped(wrap)]))
  return <A>(sending: Sending<A>, call: IncomingCall): Sending<A> =>
    all.reduceRight((next, around) => around(next, call), sending)
}

/** A handler that streams, whose requests pass the layers before it takes them. */
export const onRequests = (
  layers: ReadonlyArray<Layer>,
  run: (requests: Requests, call: IncomingCall) => AnyStream
): ((requests: Requests, call: IncomingCall) => Requests) => {
  const handle = (requests: Requests, call: IncomingCall): Requests =>
    Stream.catchAllCause(run(requests, call), (cause) => Stream.fromEffect(toStatus(cause, call)))
  const all = layers.flatMap(({ onRequest }) => (onRequest === undefined ? [] : [onRequest]))
  return all.length === 0
    ? handle
    : (requests, call) =>
        // The handler may take its requests in a fiber with another context.
        Stream.unwrap(
          Effect.contextWith((context) => {
            const check = (request: unknown) =>
              Effect.forEach(all, (onRequest) => onRequest(request, call), { discard: true })
            const checked = Stream.tap(requests, (request) =>
              settled(
                Effect.provide(
                  Effect.suspend(() => check(request)),
                  context
                ),
                call
              )
            )
            return handle(checked, call)
          })
        )
}
