/** The limits that the two ends of a connection tell each other: each sends what both allow. */

/** What one end takes. */
export interface Limits {
  /** Calls at a time that the other end may open. */
  readonly maxConcurrentStreams: number
  readonly maxMetadataSize: number
  readonly maxReceiveMessageSize: number
}

export interface Settings extends Limits {
  readonly maxSendMessageSize: number
}

/** What to tell the other end. */
export const of = ({ maxConcurrentStreams, maxMetadataSize, maxReceiveMessageSize }: Limits): Limits => ({
  maxConcurrentStreams,
  maxMetadataSize,
  maxReceiveMessageSize
})

/** What may be sent: nothing before the other end has told its limits. */
export const make = (settings: Settings) => {
  let peer: Limits = { maxConcurrentStreams: 0, maxMetadataSize: 0, maxReceiveMessageSize: 0 }
  return {
    set: (limits: Limits) => {
      peer = limits
    },
    maxStreams: () => peer.maxConcurrentStreams,
    maxMetadataSize: () => Math.min(settings.maxMetadataSize, peer.maxMetadataSize),
    maxMessageSize: () => Math.min(settings.maxSendMessageSize, peer.maxReceiveMessageSize)
  }
}
