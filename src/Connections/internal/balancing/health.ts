/** Asks an endpoint how it is, by `grpc.health.v1`. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus
} from "../../../gen/grpc/health/v1/health_pb.js"
import type { Connection, OutgoingCall } from "../../../Transport/Connection.js"
import * as Metadata from "../../../Transport/Metadata.js"
import * as Service from "../../../Transport/Service.js"
import type { CallError } from "../../../Transport/TransportError.js"

const codecs = {
  input: Service.protobufCodec(HealthCheckRequestSchema),
  output: Service.protobufCodec(HealthCheckResponseSchema)
}
const check = { ...codecs, path: "/grpc.health.v1.Health/Check", shape: "unary" } as const
const watch = { ...codecs, path: "/grpc.health.v1.Health/Watch", shape: "serverStreaming" } as const

const call = (timeout: number): OutgoingCall => ({
  metadata: Metadata.empty,
  timeout,
  waitForReady: false,
  onHeaders: undefined,
  onTrailers: undefined
})

/** What became of asking. */
export interface Listener {
  /** An answer of any kind came so many milliseconds after the first question. */
  readonly answered: (millis: number) => void
  readonly serves: (serves: boolean) => void
}

/** The first pause before a watch that has ended is begun again, and the longest. */
const firstPauseMillis = 1000
const maxPauseMillis = 60_000

/** What may be otherwise another time; all else says that this peer does not tell. */
const isPassing = ({ _tag }: CallError): boolean =>
  _tag === "Unavailable" || _tag === "DeadlineExceeded" || _tag === "Cancelled" || _tag === "ResourceExhausted"

/** Only a peer that knows the service by name says that it is another's. */
const servesBy = (status: ServingStatus, service: string): boolean =>
  status === ServingStatus.SERVING || (service === "" && status !== ServingStatus.NOT_SERVING)

/** Watches until it is interrupted. A peer that has no such service, or does not tell, counts as healthy. */
export const follow = (connection: Connection, service: string, listener: Listener): Effect.Effect<void> => {
  const attempt = (failures: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const since = performance.now()
      let hasAnswered = false
      const answered = () => {
        if (!hasAnswered) {
          hasAnswered = true
          listener.answered(performance.now() - since)
        }
      }
      const again = () => {
        listener.serves(true)
        const count = hasAnswered ? 0 : failures
        const pause = Math.min(maxPauseMillis, firstPauseMillis * 2 ** Math.min(count, 16))
        return Effect.zipRight(Effect.sleep(pause), attempt(count + 1))
      }
      return Stream.runForEach(
        connection.stream(watch, Stream.succeed({ service }), call(Number.POSITIVE_INFINITY)),
        ({ status }) =>
          Effect.sync(() => {
            answered()
            listener.serves(servesBy(status, service))
          })
      ).pipe(
        Effect.matchEffect({
          onFailure: (error) => {
            if (isPassing(error)) {
              return again()
            }
            answered()
            return Effect.sync(() => listener.serves(true))
          },
          onSuccess: again
        })
      )
    })
  return attempt(0)
}

/** How long an endpoint may take to say that it is there. */
const probeTimeout = Duration.seconds(1)

/** Whether an endpoint answers at all, and after how many milliseconds. */
export const probe = (connection: Connection, service: string): Effect.Effect<number | undefined> =>
  Effect.suspend(() => {
    const since = performance.now()
    const timeout = Duration.toMillis(probeTimeout)
    return connection.unary(check, { service }, call(timeout)).pipe(
      Effect.timeoutOption(probeTimeout),
      Effect.match({
        onFailure: (error) => !isPassing(error),
        onSuccess: (answer) => answer._tag === "Some"
      }),
      Effect.map((answers) => (answers ? performance.now() - since : undefined))
    )
  })
