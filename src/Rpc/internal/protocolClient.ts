import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Mailbox from "effect/Mailbox"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectError } from "../../Transport/TransportError.js"
import type * as Transport from "../../Transport.js"
import * as Carrier from "./carrier.js"

const again = Schedule.union(Schedule.exponential("100 millis", 1.6), Schedule.spaced("5 seconds"))

/**
 * A client protocol on a client that is asked for whenever the protocol begins again. It is there after the first attempt,
 * whatever came of that.
 */
export const make = <R>(
  peer: string,
  connect: Effect.Effect<Transport.Client<Carrier.Contract>, ConnectError, R>
): Effect.Effect<
  RpcClient.Protocol["Type"],
  never,
  Exclude<R, Scope.Scope> | RpcSerialization.RpcSerialization | Scope.Scope
> =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    return yield* RpcClient.Protocol.make((writeResponse) =>
      Effect.gen(function* () {
        let session:
          | { readonly parser: RpcSerialization.Parser; readonly outbox: Mailbox.Mailbox<Uint8Array> }
          | undefined
        let failure = new RpcClientError({ reason: "Protocol", message: `no connection to ${peer} yet` })
        const tried = Effect.unsafeMakeLatch()

        const open = Effect.gen(function* () {
          const client = yield* connect
          const parser = serialization.unsafeMake()
          const outbox = yield* Effect.acquireRelease(
            Mailbox.make<Uint8Array>(Carrier.waiting),
            (mailbox) => mailbox.shutdown
          )
          const requests = Carrier.batched(serialization, Mailbox.toStream(outbox))
          const opened = Effect.suspend(() => {
            session = { parser, outbox }
            return tried.open
          })
          const receive = (bytes: Uint8Array) =>
            bytes.length === 0
              ? opened
              : Carrier.decode<FromServerEncoded>(parser, bytes).pipe(
                  Either.mapLeft((message) => new RpcClientError({ reason: "Protocol", message })),
                  Effect.flatMap((frames) => Effect.forEach(frames, writeResponse, { discard: true }))
                )
          yield* Stream.runForEach(
            client.connect(requests, { timeout: Duration.infinity, inheritDeadline: false, waitForReady: true }),
            receive
          )
          return yield* new RpcClientError({ reason: "Protocol", message: `${peer} ended the connection` })
        }).pipe(
          Effect.scoped,
          Effect.tapErrorCause((cause) => {
            const error = Cause.squash(cause)
            session = undefined
            failure =
              error instanceof RpcClientError
                ? error
                : new RpcClientError({
                    reason: "Protocol",
                    message: `the connection to ${peer} was lost`,
                    cause: error
                  })
            return Effect.zipRight(writeResponse({ _tag: "ClientProtocolError", error: failure }), tried.open)
          }),
          Effect.sandbox,
          Effect.retry(again)
        )
        yield* Effect.forkScoped(Effect.interruptible(open))
        yield* tried.await

        return {
          send: (request) =>
            Effect.suspend((): Effect.Effect<void, RpcClientError> => {
              if (session === undefined) {
                return Effect.fail(failure)
              }
              const bytes = Carrier.encode(session.parser, request)
              return bytes === undefined ? Effect.void : Effect.asVoid(session.outbox.offer(bytes))
            }),
          supportsAck: true,
          supportsTransferables: false
        }
      })
    )
  })
