import * as Grpc from "../../src/Grpc/GrpcLive.js"
import * as Ours from "../ours.js"

export default Ours.make(Grpc.layer({ serverName: "localhost" }))
