import * as Grpc from "effect-transport/Grpc"
import * as Ours from "../ours.js"
import * as Waiting from "./waiting.js"

export default Ours.make(Grpc.layer(Waiting.options), "address", Waiting.handlers)
