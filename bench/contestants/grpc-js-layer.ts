/** Our gRPC transport on the engine of `@grpc/grpc-js`. */
import * as Grpc from "effect-transport/Grpc"
import * as Ours from "../ours.js"

export default Ours.make(Grpc.layerGrpcJs({ serverName: "localhost" }))
