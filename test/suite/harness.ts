/** What the parts of the suite are given: a way to write a test of the transport that it is about. */
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { YieldWrap } from "effect/Utils"
import type { Transport, TransportOptions } from "effect-transport"
import { leavesNothing, testTimeout } from "./fixtures/expect.js"

/** The transport under test, and what it may do without. */
export interface TransportSuiteOptions<E> {
  /**
   * Makes the layer under test; a test that is about an option gives it. Whatever it is built on (such as trust in a CA)
   * should be the same layer every time.
   */
  readonly layer: (options?: TransportOptions.TransportOptions) => Layer.Layer<Transport.Transport, E>
  /** Whether it listens on unix sockets. Default true. */
  readonly unixSockets?: boolean | undefined
  /** Why responses of more than 128 fields fail, if they do, as ResourceExhausted. Default: they arrive. */
  readonly fewResponseFields?: string | undefined
}

export interface Suite {
  /** A test, with the transport in its context, which must leave no call and no connection behind. */
  readonly test: (
    title: string,
    body: () => Generator<YieldWrap<Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>>, void, never>,
    mode?: boolean | "fails"
  ) => void
  /** Runs an effect on the transport with other options. */
  readonly withOptions: (
    options: TransportOptions.TransportOptions
  ) => <A, E, R>(
    effect: Effect.Effect<A, E, R | Transport.Transport>
  ) => Effect.Effect<A, unknown, Exclude<R, Transport.Transport> | Scope.Scope>
  readonly unixSockets: boolean
  readonly fewResponseFields: string | undefined
}

export const make = <E>({ fewResponseFields, layer, unixSockets = true }: TransportSuiteOptions<E>): Suite => {
  const memoMap = Effect.runSync(Layer.makeMemoMap)

  /** The layer, once more or with other options. What it is built on is built once in a test. */
  const build = (options?: TransportOptions.TransportOptions) =>
    Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer(options), memoMap, scope))

  return {
    test: (title, body, mode = true) =>
      (mode === "fails" ? it.live.fails : it.live.runIf(mode))(
        title,
        () => leavesNothing(Effect.flatMap(build(), (context) => Effect.provide(Effect.gen(body), context))),
        testTimeout
      ),
    withOptions: (options) => (effect) => Effect.flatMap(build(options), (context) => Effect.provide(effect, context)),
    unixSockets,
    fewResponseFields
  }
}
