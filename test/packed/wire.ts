/** The seam as an author of a wire sees it: `.ci/run` type-checks it without `skipLibCheck`. */
import { Layer } from "effect"
import { Transport, TransportOptions } from "effect-transport"
import * as Wire from "effect-transport/wire"

const addresses = Wire.LocalAddresses.make<Wire.WireTransport.Listening>()

declare const wireTo: (peer: string) => Wire.ClientConnection.Wire

export const layer: Layer.Layer<Transport.Transport> = Layer.scoped(
  Transport.Transport,
  Wire.WireTransport.make(TransportOptions.withDefaults({}), {
    connect: (_, boundary) =>
      Wire.ClientConnection.reconnecting("peer", () =>
        Wire.ClientConnection.make({
          peer: "peer",
          settings: TransportOptions.withDefaults({}),
          boundary,
          wire: wireTo("peer")
        })
      ),
    listen: (listening, options) => addresses.bind(options, listening),
    description: "nowhere"
  })
)

export type Seam = readonly [
  Wire.CallStream.ClientWire<number>,
  Wire.CallStream.ServerWire<number>,
  Wire.ClientCalls.ClientCalls<number>,
  Wire.ServerCalls.ServerCalls<number>,
  Wire.Route.Route,
  Wire.IncomingCall.IncomingCall,
  Wire.Connection.Connection
]
