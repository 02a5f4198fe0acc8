/** Listeners of the port: handlers, served at an address for as long as a scope is open. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { AdmissionService } from "../Transport/AdmissionService.js"
import { type Handlers, type RequirementsOf, routesOf, servedBy } from "../Transport/Handlers.js"
import { Health } from "../Transport/Health.js"
import * as Bind from "../Transport/internal/bind.js"
import * as Served from "../Transport/internal/served.js"
import type { Behind, ServerList, ServerMiddleware } from "../Transport/Middleware/ServerMiddleware.js"
import * as Peer from "../Transport/Peer.js"
import { Reflection } from "../Transport/Reflection.js"
import type { BindError } from "../Transport/TransportError.js"
import { type ListenOptions, Transport } from "../Transport/TransportService.js"
import * as Admission from "./Admission.js"

/**
 * A running listener.
 *
 * @since 0.1.0
 * @category tags
 */
export class Listener extends Context.Tag("effect-transport/Transport/Listener")<Listener, ListenerService>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface ListenerService {
  /** Where it listens, with the port that the system chose. */
  readonly address: Peer.Address
  /** The same as text that `client` takes. */
  readonly target: string
}

/*
 * What is forked where nothing can be interrupted, as in the acquisition of `Effect.acquireRelease`, can't be either, and
 * the scope would wait for it for ever. Hence `interruptible` on what listens and connects.
 */

/**
 * Where and how to listen, and what is done around all calls that come there.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions<
  M extends ServerList = ReadonlyArray<ServerMiddleware>,
  A extends AdmissionSource = AdmissionService
> extends Omit<ListenOptions, "admission"> {
  /**
   * What is done around all calls of the listener, the first outermost: before the authorizers and the middleware of its
   * services. Default: nothing, which costs nothing.
   */
  readonly middleware?: M | undefined
  /**
   * What may come in, by source and by identity: what `Admission.make` returns, that effect itself, or the tag
   * `Admission.Admission`, which the program provides. Listeners that are given the same value share its budgets. Default: one of
   * the listener's own, with the defaults of `Admission.make`.
   */
  readonly admission?: A | undefined
}

/**
 * An admission, or how to come by one.
 *
 * @since 0.1.0
 * @category models
 */
export type AdmissionSource = AdmissionService | Effect.Effect<AdmissionService, unknown, unknown>

/** Why there may be no admission, and what it takes. */
type AdmissionErrorOf<A> = A extends Effect.Effect<infer _, infer E, infer _> ? E : never
type AdmissionContextOf<A> = A extends Effect.Effect<infer _, infer _, infer R> ? R : never

const admissionOf = <A extends AdmissionSource>(
  source: A | undefined
): Effect.Effect<AdmissionService, AdmissionErrorOf<A>, AdmissionContextOf<A> | Scope.Scope> => {
  const admission: AdmissionSource | undefined = source
  if (admission === undefined) {
    // Defaults can't be malformed.
    return Effect.orDie(Admission.make())
  }
  return "gate" in admission
    ? Effect.succeed(admission)
    : // What the source itself may fail with, and takes.
      (admission as Effect.Effect<AdmissionService, AdmissionErrorOf<A>, AdmissionContextOf<A>>)
}

/** Tells `Health` of services, where there is one. */
const register = (services: ReadonlyArray<string>) =>
  Effect.flatMap(
    Effect.serviceOption(Health),
    Option.match({
      onNone: () => Effect.succeed({ opened: Effect.void, closing: Effect.void }),
      onSome: (health) => health.register(services)
    })
  )

/** The handlers of `Reflection`, where it is in the context and not among the handlers already. */
const reflection = (handlers: ReadonlyArray<Handlers<unknown>>): Effect.Effect<ReadonlyArray<Handlers<never>>> =>
  Effect.map(Effect.serviceOption(Reflection), (found) =>
    Option.toArray(found).flatMap((each) =>
      handlers.some(({ service }) => service === each.handlers.service) ? [] : [each.handlers]
    )
  )

/**
 * Listens for as long as the scope is open. Where `Health` is in the context, the services are `SERVING` until it closes.
 *
 * @since 0.1.0
 * @category server
 */
export const listen = <
  const H extends ReadonlyArray<Handlers<unknown>>,
  const M extends ServerList = readonly [],
  A extends AdmissionSource = AdmissionService
>(
  handlers: H,
  { admission: source, middleware, ...rest }: ServeOptions<M, A> = {}
): Effect.Effect<
  ListenerService,
  BindError | AdmissionErrorOf<A>,
  Transport | Scope.Scope | Behind<M, RequirementsOf<H>> | AdmissionContextOf<A>
> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    const all = [...handlers, ...(yield* reflection(handlers))]
    const served = Served.make(servedBy(all))
    const options: ListenOptions = { ...rest, admission: yield* admissionOf(source) }
    // The context of all handlers is the context of each.
    const routes = yield* routesOf(all, served, middleware)
    yield* Bind.check(options)
    // What is added last is done first: services stop serving before the transport tells its peers to go away, and are
    // forgotten when it has closed.
    const registration = yield* register(served.services.map(({ name }) => name))
    const address = yield* transport.listen(routes, options)
    yield* Effect.addFinalizer(() => Effect.zipRight(registration.closing, served.close))
    yield* registration.opened
    const target = Peer.formatAddress(address)
    const description = transport.description === undefined ? "" : ` (${yield* transport.description})`
    yield* Effect.logInfo(`listening on ${target}${description}`)
    return { address, target }
  }).pipe(Effect.interruptible)

/**
 * A listener as a layer.
 *
 * @since 0.1.0
 * @category server
 */
export const serve = <
  const H extends ReadonlyArray<Handlers<unknown>>,
  const M extends ServerList = readonly [],
  A extends AdmissionSource = AdmissionService
>(
  handlers: H,
  options?: ServeOptions<M, A>
): Layer.Layer<
  Listener,
  BindError | AdmissionErrorOf<A>,
  Transport | Behind<M, RequirementsOf<H>> | Exclude<AdmissionContextOf<A>, Scope.Scope>
> => Layer.scoped(Listener, listen(handlers, options))
