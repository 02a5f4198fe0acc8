/**
 * What a wire is made of, for authors of wires: the seam, the engines of both sides, and what stands around them.
 * docs/guide/your-own-wire.md builds one. May change in a minor version, as what callers use may not.
 *
 * @since 0.1.0
 */

export * as CallErrors from "./Calls/CallErrors.js"
export type * as CallStream from "./Calls/CallStream.js"
export * as ClientCalls from "./Calls/ClientCalls.js"
export * as ClientConnection from "./Calls/ClientConnection.js"
export * as Deadlines from "./Calls/Deadlines.js"
export * as ServerCalls from "./Calls/ServerCalls.js"
export * as ServerConnection from "./Calls/ServerConnection.js"
export * as StreamQuota from "./Calls/StreamQuota.js"
export * as Timing from "./Calls/Timing.js"
export * as WireFields from "./Calls/WireFields.js"
export * as WireLimits from "./Calls/WireLimits.js"
export * as WireTransport from "./Calls/WireTransport.js"
export * as LocalAddresses from "./Connections/LocalAddresses.js"
export * as Progress from "./Connections/Progress.js"
export * as ReconnectingConnection from "./Connections/ReconnectingConnection.js"
export type * as Connection from "./Transport/Connection.js"
export type * as IncomingCall from "./Transport/IncomingCall.js"
export type { Boundary } from "./Transport/internal/boundary.js"
export type * as Route from "./Transport/Route.js"
export type { TransportService } from "./Transport/TransportService.js"
