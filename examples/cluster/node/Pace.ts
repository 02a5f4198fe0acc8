import * as Duration from "effect/Duration"

/**
 * How long to wait before doing again with a peer what all nodes do with all their peers, so that it happens so many
 * times a second in the whole cluster: the load does not depend on how many nodes there are.
 */
export const pause = (timesPerSecond: number, peers: number): Duration.Duration =>
  Duration.seconds((peers * (peers + 1)) / timesPerSecond)
