/** `ping`: health checks, one after the other, and how long each takes. */
import { performance } from "node:perf_hooks"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { Health, Transport, type TransportError } from "effect-transport"
import { explain } from "../shared/failure.js"
import { atLeast, duration, json, metadata, target } from "../shared/options.js"
import { print, printJson, result } from "../shared/output.js"
import { oneLine, printable } from "../shared/text.js"
import * as Wires from "../shared/transport.js"
import * as Histogram from "./bench/histogram.js"
import * as Plot from "./ping/plot.js"

const service = Options.text("service").pipe(
  Options.withDefault(""),
  Options.withDescription("The full name of the service to ask for. Default: the node as a whole.")
)

const count = Options.integer("count").pipe(
  Options.withAlias("c"),
  atLeast("count", 1),
  Options.optional,
  Options.withDescription("How often to ask. Default: until Ctrl-C.")
)

const interval = duration("interval").pipe(
  Options.withAlias("i"),
  Options.withDefault(Duration.seconds(1)),
  Options.withDescription("How long from one check to the next. Default: 1s.")
)

const config = { target, service, count, interval, metadata, ...Wires.connection, json }

const statuses = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]

/** What one check has come to. */
interface Ping {
  readonly seq: number
  readonly status: string
  readonly millis?: number
}

interface Summary extends Partial<Histogram.Summary> {
  readonly target: string
  readonly wire: string
  readonly sent: number
  readonly answered: number
}

/** How many checks the plot has at most: it keeps no more. */
const width = 60

/** What was seen so far, which stays small however long it goes on. */
const makeSeen = () => {
  const histogram = Histogram.make()
  const recent: Array<number | undefined> = []
  let sent = 0
  let answered = 0
  return {
    add: (millis: number | undefined) => {
      sent += 1
      recent.push(millis)
      if (recent.length > width) {
        recent.shift()
      }
      if (millis !== undefined) {
        answered += 1
        histogram.add(millis)
      }
    },
    sent: () => sent,
    answered: () => answered,
    summary: () => histogram.summary(),
    plot: () => `${Plot.sparkline(recent, width)}\n${Plot.bars(histogram.bars(), 30)}`
  }
}

const summaryText = ({ answered, max, min, p50, p99, sent, target, wire }: Summary, plot: string): string =>
  [
    `${target} over ${wire}: ${sent} sent, ${answered} answered`,
    ...(answered === 0 ? [] : [`min ${min}  p50 ${p50}  p99 ${p99}  max ${max} ms`, plot])
  ].join("\n")

export const ping = Command.make("ping", config, ({ count, interval, json, metadata, service, target, ...config }) =>
  Effect.gen(function* () {
    const client = yield* Transport.client(Health.Contract, target)
    const seen = makeSeen()
    let lastError: TransportError.CallError | undefined
    const show = Effect.suspend(() => {
      const { max, min, p50, p99 } = seen.summary()
      const [sent, answered] = [seen.sent(), seen.answered()]
      const times = answered === 0 ? {} : { min, p50, p99, max }
      const summary: Summary = { target, wire: config.wire, sent, answered, ...times }
      return result(json, { summary }, ({ summary }) => summaryText(summary, seen.plot()))
    })
    const tell = (ping: Ping, text: string) => (json ? printJson(ping) : print(printable(text)))
    const once = Effect.gen(function* () {
      const began = performance.now()
      const answer = yield* Effect.either(client.check({ service }, { metadata: metadata.entries }))
      const millis = Number((performance.now() - began).toFixed(3))
      const seq = seen.sent() + 1
      if (Either.isRight(answer)) {
        seen.add(millis)
        const status = statuses[answer.right.status] ?? String(answer.right.status)
        return yield* tell({ seq, status, millis }, `${seq}: ${status} in ${millis} ms`)
      }
      lastError = answer.left
      seen.add(undefined)
      const { message, tag } = explain(answer.left)
      yield* tell({ seq, status: tag }, `${seq}: ${tag}: ${oneLine(message)}`)
    })
    const most = Option.getOrElse(count, () => Number.POSITIVE_INFINITY)
    const loop = Effect.gen(function* () {
      const began = performance.now()
      while (seen.sent() < most) {
        yield* once
        const due = began + seen.sent() * Duration.toMillis(interval)
        if (seen.sent() < most) {
          yield* Effect.sleep(Math.max(0, due - performance.now()))
        }
      }
    })
    yield* Effect.onInterrupt(loop, () => show)
    yield* show
    if (seen.answered() === 0 && lastError !== undefined) {
      return yield* lastError
    }
  }).pipe(Effect.scoped, Effect.provide(Wires.layer(config)))
).pipe(
  Command.withDescription(
    "Asks a node for its health again and again, and shows how long it takes. A check that fails is told and counted; the exit " +
      "code is 0 where one was answered."
  )
)
