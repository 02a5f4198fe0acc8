/** GrpcLive as its suite needs it. */
import { Grpc, type TransportOptions } from "effect-transport"

/** A listener that returns is found soon. */
export const layer = (options?: TransportOptions.TransportOptions) =>
  Grpc.layer({ initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis", ...options })

/** Node has an option for it that grpc-js does not pass on. */
export const fewResponseFields = "http2.connect of grpc-js takes 128 fields"
