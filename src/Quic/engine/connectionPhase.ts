/** How far a connection has come, from its handshake to its end. */

export type Phase =
  | { readonly _tag: "Handshaking" }
  /** The handshake is over on this side, and the owner has not decided yet. */
  | { readonly _tag: "Established" }
  /** The owner has accepted the peer: what it sends is read. */
  | { readonly _tag: "Accepted" }
  /** The peer has acknowledged what was sent behind the handshake. */
  | { readonly _tag: "Confirmed" }
  /** The owner knows of the end; the last packet may still have to be sent. */
  | { readonly _tag: "Closed"; readonly since: number; readonly wasEstablished: boolean }
  /** Nothing is sent or received any more. */
  | { readonly _tag: "Gone"; readonly wasEstablished: boolean }

export const handshaking: Phase = { _tag: "Handshaking" }
export const established: Phase = { _tag: "Established" }
export const accepted: Phase = { _tag: "Accepted" }
export const confirmed: Phase = { _tag: "Confirmed" }

/** Whether the handshake was over at some time. */
export const isEstablished = (phase: Phase): boolean =>
  phase._tag === "Closed" || phase._tag === "Gone" ? phase.wasEstablished : phase._tag !== "Handshaking"

/** Whether calls go on. */
export const isOpen = (phase: Phase): boolean => phase._tag === "Accepted" || phase._tag === "Confirmed"

export const isClosed = (phase: Phase): boolean => phase._tag === "Closed" || phase._tag === "Gone"

export const closed = (phase: Phase, now: number): Phase => ({
  _tag: "Closed",
  since: now,
  wasEstablished: isEstablished(phase)
})

export const gone = (phase: Phase): Phase => ({ _tag: "Gone", wasEstablished: isEstablished(phase) })
