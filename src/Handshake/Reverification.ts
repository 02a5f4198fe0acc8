/**
 * Verifies the peers of open connections again, when the credentials change and when what they were verified by
 * expires, and closes the connections of peers that would not be admitted any more.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CredentialsService } from "../Credentials/Credentials.js"
import type { Tls } from "../Credentials/internal/material.js"
import type { Authorizer } from "../Transport/Authorizer.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import type { HandshakeFailed } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as ExpiryTimer from "./internal/expiryTimer.js"
import { handshakeFailed } from "./internal/refusals.js"
import type { Evidence } from "./internal/secureSocket.js"
import * as PeerVerification from "./PeerVerification.js"

/** The two ways to end a connection. */
export interface Ending {
  /** Asks for no more calls on it, so that they go to another connection. Those in flight go on. */
  readonly leave: () => void
  readonly close: (error: HandshakeFailed) => void
}

/** A connection whose peer has been admitted. */
export interface Open extends Ending {
  /** The target or address. */
  readonly peer: string
  /** What the peer was verified by. */
  readonly material: Tls
  /** Until when that holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
  /** Verifies the peer again; returns until when that holds. */
  readonly verify: (material: Tls) => Effect.Effect<number, HandshakeFailed>
}

/** A client's connection to a listener. */
export const client = (
  { chain, material, validUntil }: Evidence,
  peer: string,
  authorize: Authorizer | undefined,
  ending: Ending
): Open => ({
  ...ending,
  peer,
  material,
  validUntil,
  verify: (material) =>
    Effect.map(PeerVerification.ofClient({ material, chain, peer }, authorize, "open"), ({ validUntil }) => validUntil)
})

/** A connection of a client that was asked for no certificate: only the authorizer can reject it later. */
export const unknownClient = (
  material: Tls,
  peer: string,
  authorize: Authorizer | undefined,
  ending: Ending
): Open => ({
  ...ending,
  peer,
  material,
  validUntil: Number.POSITIVE_INFINITY,
  verify: (material) =>
    Effect.as(PeerVerification.unknownClient({ material, chain: [], peer }, authorize), Number.POSITIVE_INFINITY)
})

/** A connection to a server. */
export const server = (
  { chain, material, validUntil }: Evidence,
  peer: string,
  nameWanted: string,
  ending: Ending
): Open => ({
  ...ending,
  peer,
  material,
  validUntil,
  verify: (material) =>
    Effect.map(PeerVerification.ofServer({ material, chain, peer, nameWanted }, "open"), ({ validUntil }) => validUntil)
})

/** Verifies the peers of a transport's connections again. */
export interface Reverification {
  /**
   * Verifies the peer of a connection from now on; returns what stops that, to be called when the connection has ended.
   */
  readonly add: (open: Open) => () => void
}

/** Adds a connection for as long as the scope is open. */
export const whileOpen = (
  reverification: Reverification,
  open: Option.Option<Open>
): Effect.Effect<void, never, Scope.Scope> =>
  Option.match(open, {
    onNone: () => Effect.void,
    onSome: (open) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => reverification.add(open)),
          (release) => Effect.sync(release)
        )
      )
  })

interface Entry {
  readonly open: Open
  material: Tls
  validUntil: number
  closing: NodeJS.Timeout | undefined
}

/** Every certificate comes to this in its time, and its holder is likely to have another by now. */
const isOld = ({ reason }: HandshakeFailed) => reason === "Expired" || reason === "UntrustedIssuer"

/** How long calls in flight may still take then, so that a rotation costs none of the short ones. */
const leavePeriodMillis = 500

/**
 * Follows the credentials until the scope closes. A verification that throws closes the connection with `BadCertificate`.
 */
export const make = (credentials: CredentialsService): Effect.Effect<Reverification, never, Scope.Scope> =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const run = yield* FiberSet.makeRuntime()
    const entries = new Set<Entry>()

    const reject = (entry: Entry, error: HandshakeFailed) => {
      const { open } = entry
      // A connection released meanwhile is not ours to close.
      if (entries.delete(entry)) {
        TransportMetrics.connectionsRejected.pipe(Metric.tagged("reason", error.reason)).unsafeUpdate(1, [])
        boundary.log(
          LogLevel.Warning,
          `rejected-${error.reason}`,
          `a peer is not admitted any more, closing its connection: ${error.message}`
        )
        const close = () => boundary.guard("timer", open.peer, () => open.close(error), constVoid)
        if (isOld(error)) {
          entry.closing = setTimeout(close, leavePeriodMillis).unref()
          boundary.guard("timer", open.peer, open.leave, close)
        } else {
          close()
        }
      }
    }

    const verify = (entry: Entry): Effect.Effect<void> =>
      Effect.gen(function* () {
        const material = yield* credentials.current
        if (!entries.has(entry) || material._tag !== "Tls") {
          return
        }
        if (material === entry.material && Date.now() <= entry.validUntil) {
          return
        }
        entry.validUntil = yield* entry.open.verify(material)
        entry.material = material
        timer.arm(entry.validUntil)
      }).pipe(
        Effect.catchAllDefect((defect) => {
          boundary.caught("callback", entry.open.peer, defect)
          return Effect.fail(handshakeFailed({ reason: "BadCertificate", refusedBy: "local", peer: entry.open.peer }))
        }),
        Effect.catchAll((error) => Effect.sync(() => reject(entry, error)))
      )

    const verifyEach = (some: Iterable<Entry>) =>
      Effect.forEach([...some], (entry) => Effect.zipRight(EventLoop.yieldWhenLong, verify(entry)), { discard: true })

    const timer = ExpiryTimer.make(entries, (expired) => {
      run(verifyEach(expired))
    })

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        timer.stop()
        entries.clear()
      })
    )
    yield* Effect.forkScoped(Stream.runForEach(credentials.changes, () => Effect.suspend(() => verifyEach(entries))))

    return {
      add: (open) => {
        const entry: Entry = { open, material: open.material, validUntil: open.validUntil, closing: undefined }
        entries.add(entry)
        timer.arm(entry.validUntil)
        // The credentials may have changed since its handshake began.
        run(verify(entry))
        return () => {
          entries.delete(entry)
          clearTimeout(entry.closing)
        }
      }
    }
  })
