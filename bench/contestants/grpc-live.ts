import * as Grpc from "effect-transport/Grpc"
import * as Ours from "../ours.js"

export default Ours.make(Grpc.layer({ serverName: "localhost" }))
