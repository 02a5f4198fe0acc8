/** A connection on a socket as its client or listener holds it. */
import * as Effect from "effect/Effect"
import * as Deferred from "../effect/Deferred.js"
import * as SocketConnection from "./SocketConnection.js"
import type { End } from "./SocketEnd.js"
import * as SocketState from "./SocketState.js"

export interface SocketHandle<R extends string> {
  /** Completes when the peer has accepted this end; fails with the end of the connection. */
  readonly ready: Effect.Effect<void, End<R>>
  /** Completes when no more calls begin on the connection. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  /** Completes when this end's calls do nothing but time out; may be awaited again. */
  readonly stalled: Effect.Effect<void>
  /** Whether a call has been answered, or accepted, on this connection. */
  readonly hasServed: () => boolean
  /** Begins no more calls, and closes when those in flight have ended. */
  readonly leave: () => void
  readonly ended: Effect.Effect<End<R>>
  /** Completes when the socket has closed after the end, for which it waits a second for a peer that is still sending. */
  readonly closed: Effect.Effect<void>
  /** Takes no more calls, and lets those in flight end. */
  readonly goaway: () => void
  /** Asks the peer to begin no more calls, and completes when it has received that. Those that it began are taken. */
  readonly retire: Effect.Effect<void>
  /** Completes when no calls are in flight and no bytes under way, and when the connection ends. */
  readonly idle: Effect.Effect<void>
  /** Ends it and tells the peer why. In peace, the end is what the peer has said of its own where it goes away already. */
  readonly close: (reason: R, text: string) => void
}

export const make = <R extends string>(self: SocketState.SocketState<R>): SocketHandle<R> => {
  const { closed, dialect, ended, idle, lost, progress, protocol, ready, retired, writer } = self
  return {
    ready: Deferred.await(ready),
    ended: Deferred.await(ended),
    closed: Deferred.await(closed),
    lost: Deferred.await(lost),
    isLost: () => self.phase !== "Open",
    stalled: progress.stalled,
    hasServed: progress.hasServed,
    leave: () => {
      SocketState.lose(self, "Leaving")
      SocketState.closeWhenDone(self)
    },
    goaway: () => {
      protocol.goaway(dialect.peaceful, "")
      writer.flush()
    },
    retire: Effect.suspend(() => {
      SocketConnection.askToGo(self)
      return Effect.race(Deferred.await(retired), Deferred.await(ended))
    }),
    idle: idle.reached,
    close: (reason, text) =>
      SocketState.close(self, reason, text, reason === dialect.peaceful ? self.goaway : undefined)
  }
}
