/** The gRPC transport as its suite needs it. */

/** A listener that returns is found soon. */
export const quickReconnect = { initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis" } as const
