/** A target as text, or why it can't be read. */
import * as Either from "effect/Either"
import * as Peer from "../Peer.js"
import { InvalidArgument } from "../TransportError.js"

export const parse = (peer: string): Either.Either<Peer.Target, InvalidArgument> =>
  Either.mapLeft(Peer.parseTarget(peer), (message) => new InvalidArgument({ message, peer }))
