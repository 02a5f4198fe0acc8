/**
 * Judges the peers of open connections again: whenever the credentials change, and when what they were judged by expires.
 * Who would not get in any more is out.
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
import * as Turns from "../Transport/internal/eventLoop.js"
import type { HandshakeFailed } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import { handshakeFailed } from "./internal/refusals.js"
import * as PeerVerification from "./PeerVerification.js"
import type { Evidence } from "./TlsHandshake.js"

/** What ends a connection. */
export interface Ending {
  /** Asks for no more calls on it, so that they go to another. Those in flight go on. */
  readonly leave: () => void
  readonly close: (error: HandshakeFailed) => void
}

/** A connection whose peer has been let in. */
export interface Open extends Ending {
  /** The target or address. */
  readonly peer: string
  /** What the peer was judged by. */
  readonly material: Tls
  /** Until when that holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
  /** Judges it again; gives until when it holds now. */
  readonly judge: (material: Tls) => Effect.Effect<number, HandshakeFailed>
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
  judge: (material) =>
    Effect.map(PeerVerification.ofClient({ material, chain, peer }, authorize, "open"), ({ validUntil }) => validUntil)
})

/** A connection of a client that was asked for no certificate, so that only the authorizer can change its mind. */
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
  judge: (material) =>
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
  judge: (material) =>
    Effect.map(PeerVerification.ofServer({ material, chain, peer, nameWanted }, "open"), ({ validUntil }) => validUntil)
})

/** The connections of a transport. */
export interface Reverification {
  /** From here on the connection is judged; gives what ends that, for when it has ended. */
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

/** What becomes of every certificate in its time: its holder is likely to have another by now. */
const isOld = ({ reason }: HandshakeFailed) => reason === "Expired" || reason === "UntrustedIssuer"

/** How long calls in flight have then, so that a rotation costs none of those that are short. */
const leavePeriodMillis = 500

/** A timer knows nothing of a wall clock that is set. */
const maxPauseMillis = 60_000

/** Follows the credentials until the scope closes. */
export const make = (credentials: CredentialsService): Effect.Effect<Reverification, never, Scope.Scope> =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const run = yield* FiberSet.makeRuntime()
    const entries = new Set<Entry>()
    let timer: NodeJS.Timeout | undefined
    let next = Number.POSITIVE_INFINITY

    const reject = (entry: Entry, error: HandshakeFailed) => {
      const { open } = entry
      // Released meanwhile, it is somebody else's to close.
      if (entries.delete(entry)) {
        TransportMetrics.connectionsRejected.pipe(Metric.tagged("reason", error.reason)).unsafeUpdate(1, [])
        boundary.log(LogLevel.Warning, `rejected-${error.reason}`, `closing the connection: ${error.message}`)
        const close = () => boundary.guard("timer", open.peer, () => open.close(error), constVoid)
        if (isOld(error)) {
          entry.closing = setTimeout(close, leavePeriodMillis).unref()
          boundary.guard("timer", open.peer, open.leave, close)
        } else {
          close()
        }
      }
    }

    const judge = (entry: Entry): Effect.Effect<void> =>
      Effect.gen(function* () {
        const material = yield* credentials.current
        if (!entries.has(entry) || material._tag !== "Tls") {
          return
        }
        if (material === entry.material && Date.now() <= entry.validUntil) {
          return
        }
        entry.validUntil = yield* entry.open.judge(material)
        entry.material = material
        arm(entry.validUntil)
      }).pipe(
        Effect.catchAllDefect((defect) => {
          boundary.caught("callback", entry.open.peer, defect)
          return Effect.fail(handshakeFailed({ reason: "BadCertificate", refusedBy: "local", peer: entry.open.peer }))
        }),
        Effect.catchAll((error) => Effect.sync(() => reject(entry, error)))
      )

    const judgeAll = Effect.suspend(() =>
      Effect.forEach([...entries], (entry) => Effect.zipRight(Turns.next, judge(entry)), { discard: true })
    )

    const arm = (at: number) => {
      if (at < next || (timer === undefined && at < Number.POSITIVE_INFINITY)) {
        next = Math.min(next, at)
        clearTimeout(timer)
        timer = setTimeout(onTimer, Math.min(Math.max(0, next - Date.now() + 1), maxPauseMillis)).unref()
      }
    }

    const onTimer = () => {
      timer = undefined
      next = Number.POSITIVE_INFINITY
      const now = Date.now()
      const due: Array<Entry> = []
      for (const entry of entries) {
        if (entry.validUntil < now) {
          due.push(entry)
        } else {
          next = Math.min(next, entry.validUntil)
        }
      }
      if (next < Number.POSITIVE_INFINITY) {
        arm(next)
      }
      if (due.length > 0) {
        run(Effect.forEach(due, (entry) => Effect.zipRight(Turns.next, judge(entry)), { discard: true }))
      }
    }

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        clearTimeout(timer)
        entries.clear()
      })
    )
    yield* Effect.forkScoped(Stream.runForEach(credentials.changes, () => judgeAll))

    return {
      add: (open) => {
        const entry: Entry = { open, material: open.material, validUntil: open.validUntil, closing: undefined }
        entries.add(entry)
        arm(entry.validUntil)
        // What has changed since its handshake began.
        run(judge(entry))
        return () => {
          entries.delete(entry)
          clearTimeout(entry.closing)
        }
      }
    }
  })
