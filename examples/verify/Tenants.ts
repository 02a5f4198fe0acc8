/** Admission at work: two tenants call one node, and one of them calls ten times as often as it may. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Admission, Credentials, type DevCa, Transport } from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import { millisBetween } from "./Echo.js"
import * as EchoNode from "./EchoNode.js"
import { percentile } from "./Experiments.js"
import { type Failure, fromError } from "./Failure.js"
import type { TenantName, TenantsAnswer } from "./model.js"
import { Nodes } from "./Nodes.js"
import type { Choice, TransportName } from "./transports.js"

/** Calls a second that each tenant may make. */
const rate = 20

const seconds = 2

const idOf = (tenant: TenantName) => `spiffe://verify/${tenant}`

const admission = Admission.make({
  rules: [
    Admission.rule({
      name: "tenants",
      match: { spiffeId: "spiffe://verify/tenant-*" },
      limits: { callsPerSecond: { rate, burst: rate } }
    })
  ]
})

/** Calls at an even pace, whatever becomes of them, and counts. */
const calls = (client: Transport.Client<typeof EchoService>, tenant: TenantName, perSecond: number) =>
  Effect.gen(function* () {
    const latencies: Array<number> = []
    const refusals: Record<string, number> = {}
    const one = Effect.gen(function* () {
      const start = yield* Clock.currentTimeNanos
      yield* client.echo({ message: tenant }, { timeout: "5 seconds" }).pipe(
        Effect.matchEffect({
          onSuccess: () =>
            Effect.map(Clock.currentTimeNanos, (now) => {
              latencies.push(millisBetween(start, now))
            }),
          onFailure: (error) =>
            Effect.sync(() => {
              refusals[error._tag] = (refusals[error._tag] ?? 0) + 1
            })
        })
      )
    })
    const asked = perSecond * seconds
    yield* Effect.forEach(
      Array.from({ length: asked }, (_, index) => index),
      (index) => Effect.delay(one, (1_000 * index) / perSecond),
      { concurrency: "unbounded", discard: true }
    )
    const sorted = latencies.toSorted((a, b) => a - b)
    return {
      tenant,
      asked,
      answered: sorted.length,
      refusals,
      p50Millis: percentile(sorted, 0.5),
      p99Millis: percentile(sorted, 0.99)
    }
  })

const clientOf = (choice: Choice, ca: DevCa.DevCa, tenant: TenantName, target: string) =>
  Effect.gen(function* () {
    const own = yield* ca.issue({ names: [tenant], spiffeId: idOf(tenant) })
    const transport = yield* Layer.build(Layer.provide(choice.layer, Credentials.layerPem({ ...own, ca: ca.ca })))
    return yield* Effect.provide(Transport.client(EchoService, target), transport)
  })

/** What each tenant gets from a node of its own with that rule. */
export const run = (transport: TransportName): Effect.Effect<typeof TenantsAnswer.Type, Failure, Nodes> =>
  Effect.gen(function* () {
    const { ca, get } = yield* Nodes
    const { choice } = yield* get(transport)
    if (!choice.authenticated) {
      const message = `nobody proves who it is over ${transport}`
      return yield* Effect.fail<Failure>({ _tag: "FailedPrecondition", message, transport })
    }
    const own = yield* ca.issue({ names: ["127.0.0.1"] })
    const node = yield* Layer.build(Layer.provide(choice.layer, Credentials.layerPem({ ...own, ca: ca.ca })))
    const listening = Transport.listen([EchoNode.handlers(() => Effect.void)], { admission, gracePeriod: 0 })
    const { target } = yield* Effect.provide(listening, node)
    const greedy = yield* clientOf(choice, ca, "tenant-greedy", target)
    const modest = yield* clientOf(choice, ca, "tenant-modest", target)
    const tenants = yield* Effect.all(
      [calls(greedy, "tenant-greedy", 10 * rate), calls(modest, "tenant-modest", rate / 2)],
      { concurrency: "unbounded" }
    )
    return { transport, perSecond: rate, tenants }
  }).pipe(
    Effect.scoped,
    Effect.catchIf(
      (error) =>
        error._tag === "CredentialsError" || error._tag === "AdmissionError" || error._tag === "MissingPackage",
      (error) => Effect.die(error)
    ),
    Effect.mapError((error) => ("cause" in error ? fromError(transport)(error) : error))
  )
