/** When the messages of a stream wait because too much of a connection is unsent. */

/** What a wire knows of the stream. */
export interface Sending {
  /** Whether some of its messages has not left. */
  readonly isSending: boolean
  /** What its last message took of its credit; 0 before the first. */
  readonly lastSize: number
  /** What its peer may be sent of it now, in bytes, and what it could be sent at first. */
  readonly credit: number
  readonly initialCredit: number
}

/** How much may be unsent, in limits, of all streams together. */
const most = 2

/** Peers give back credit when it is up to half a window. */
const creditShare = 1 / 2

/**
 * Whether a stream may send a message although more is unsent than may be: its peer has read what it got, and has credit for
 * another message like the last, which leaves at once then. Messages that are larger than a window wait with all others: how
 * much of them stays unsent depends on readers of which nothing is known yet.
 */
export const maySendBeyond = (
  unsent: number,
  limit: number,
  { credit, initialCredit, isSending, lastSize }: Sending
): boolean =>
  !isSending &&
  unsent <= most * limit &&
  credit > 0 &&
  lastSize <= initialCredit &&
  credit >= Math.min(lastSize, creditShare * initialCredit)
