/** The client protocol of @effect/rpc on a call that is made again whenever it is lost. */
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Latch from "../../effect/Latch.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import { type ConnectError, DeadlineExceeded, Unavailable } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import type * as Transport from "../../Transport.js"
import * as Carrier from "./carrier.js"
import * as Delivery from "./delivery.js"
import type * as FrameScan from "./frameScan.js"
import * as Frames from "./frames.js"
import * as Session from "./session.js"

const pause = Duration.millis(100)

const again = Schedule.exponential(pause, 1.6).pipe(Schedule.union(Schedule.spaced("5 seconds")), Schedule.jittered)

/** How long a server that has taken the call may take to greet. */
const helloTimeout = Duration.seconds(10)

/** What becomes of a request. */
type State =
  | { readonly _tag: "Opening" }
  | { readonly _tag: "Open"; readonly session: Session.Session }
  | { readonly _tag: "Lost"; readonly error: RpcClientError }

const refused = Metric.tagged(TransportMetrics.rpcFramesRefused, "side", "client")

const protocolError = (message: string, cause?: unknown) => new RpcClientError({ reason: "Protocol", message, cause })

/**
 * A client protocol on a client that is asked for whenever the protocol begins again. It is there after the first attempt,
 * whatever came of that.
 */
export const make = <R>(
  peer: string,
  connect: Effect.Effect<Transport.Client<Carrier.Contract>, ConnectError, R>,
  limits: FrameScan.Limits
): Effect.Effect<
  RpcClient.Protocol["Type"],
  never,
  Exclude<R, Scope.Scope> | RpcSerialization.RpcSerialization | Scope.Scope
> =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const format = Frames.formatOf(serialization)
    const boundary = yield* Boundary.make
    const refuse = (reason: string) => {
      refused.unsafeUpdate(1, [])
      boundary.log(LogLevel.Warning, "rpc-frame", `ending the RPC connection to ${peer}: ${reason}`)
      return protocolError(`frames that can't be decoded: ${reason}`)
    }
    return yield* RpcClient.Protocol.make((writeResponse) =>
      Effect.gen(function* () {
        let state: State = { _tag: "Opening" }
        /** The call that is there: it goes on for a while when it takes no further requests. */
        let current: (Session.Session & Delivery.Delivery) | undefined
        const settled = Latch.makeUnsafe()

        const become = (next: State) => {
          state = next
          if (next._tag === "Opening") {
            settled.unsafeClose()
          } else {
            settled.unsafeOpen()
          }
        }

        const lose = (cause: Cause.Cause<unknown>) => {
          const reason = Cause.squash(cause)
          const error =
            reason instanceof RpcClientError ? reason : protocolError(`the connection to ${peer} was lost`, reason)
          const wasOpen = current !== undefined
          current = undefined
          become({ _tag: "Lost", error })
          return Effect.as(writeResponse({ _tag: "ClientProtocolError", error }), wasOpen)
        }

        /** One call, from its greeting to its end. */
        const call = Effect.gen(function* () {
          const client = yield* connect
          const parser = Frames.makeParser(serialization, format, limits)
          const reader = Frames.makeReader<FromServerEncoded>(serialization, format, parser, limits)
          const outbox = yield* Effect.acquireRelease(
            Mailbox.make<Uint8Array>(Carrier.waiting),
            (mailbox) => mailbox.shutdown
          )
          const delivery = yield* Delivery.make(writeResponse)
          const greeted = Latch.makeUnsafe()
          let isOver = false

          const onFrame = (response: FromServerEncoded) => {
            if (response._tag === "Exit") {
              current?.answered(response.requestId)
            } else if (response._tag === "Defect") {
              // It has failed all requests. What is asked from now on goes on another call.
              isOver = true
              current = undefined
              become({ _tag: "Opening" })
            }
            return delivery.deliver(response)
          }

          const receive = (bytes: Uint8Array): Effect.Effect<boolean, RpcClientError> => {
            if (current === undefined) {
              const maxRequests = Carrier.readHello(bytes)
              if (maxRequests === undefined) {
                return protocolError(`${peer} does not greet as it should`)
              }
              current = { ...Session.make(maxRequests, parser, outbox), ...delivery }
              become({ _tag: "Open", session: current })
              return Effect.as(greeted.open, true)
            }
            if (bytes.length === 0) {
              const cause = new Unavailable({ message: "the peer is closing", peer, processed: "no" })
              become({ _tag: "Lost", error: protocolError(`${peer} takes no further requests`, cause) })
              return Effect.succeed(true)
            }
            return Effect.map(Carrier.pass(reader, bytes, onFrame, refuse), () => !isOver)
          }

          const silence = new DeadlineExceeded({ message: "the server does not greet", peer })
          yield* Stream.runForEachWhile(
            client.connect(Carrier.messages(serialization, outbox), {
              timeout: Duration.infinity,
              inheritDeadline: false,
              waitForReady: true
            }),
            receive
          ).pipe(
            Effect.raceFirst(
              Effect.zipRight(
                Effect.timeoutFail(greeted.await, { duration: helloTimeout, onTimeout: () => silence }),
                Effect.never
              )
            )
          )
          if (!isOver) {
            return yield* new Unavailable({ message: "the peer ended the connection", peer })
          }
        }).pipe(
          Effect.catchAllCause((cause) =>
            Effect.flatMap(lose(cause), (wasOpen) => (wasOpen ? Effect.sleep(pause) : Effect.fail(cause)))
          ),
          Effect.scoped,
          // Requests have spans of their own. This one's would last for days.
          Effect.withTracerEnabled(false)
        )
        yield* Effect.forkScoped(Effect.interruptible(Effect.forever(Effect.retry(call, again))))
        yield* settled.await

        const send = (frame: FromClientEncoded): Effect.Effect<void, RpcClientError> =>
          Effect.suspend(() => {
            if (frame._tag === "Interrupt") {
              current?.abandon(frame.requestId)
            }
            if (frame._tag !== "Request") {
              return current?.send(frame) ?? Effect.void
            }
            switch (state._tag) {
              case "Open":
                return state.session.send(frame)
              case "Opening":
                return Effect.zipRight(settled.await, send(frame))
              case "Lost":
                return Effect.fail(state.error)
            }
          })
        return { send, supportsAck: true, supportsTransferables: false }
      })
    )
  })
