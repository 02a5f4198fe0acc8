/** Asks a user's authorizer behind the boundary: one that throws, or does not answer `true`, refuses. */
import type * as Option from "effect/Option"
import type { Authorizer } from "../Authorizer.js"
import type { Identity } from "../Peer.js"
import { type Boundary, onRejected } from "./boundary.js"

/** Whether an authorizer lets a peer pass. One that throws refuses. */
export const allows = (
  boundary: Boundary,
  authorizer: Authorizer,
  identity: Option.Option<Identity>,
  peer: string
): boolean => {
  try {
    const answer: unknown = authorizer(identity)
    onRejected(answer, (cause) => boundary.caught("callback", peer, cause))
    return answer === true
  } catch (cause) {
    boundary.caught("callback", peer, cause)
    return false
  }
}

/** The same as an authorizer that never throws; for peers that connect. */
export const authorizer = (boundary: Boundary, authorize: Authorizer | undefined): Authorizer | undefined =>
  authorize === undefined ? undefined : (identity) => allows(boundary, authorize, identity, "a peer that connects")
