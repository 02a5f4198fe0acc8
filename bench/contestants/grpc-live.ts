import { GrpcLive } from "../../src/Grpc/GrpcLive.js"
import * as Ours from "../ours.js"

export default Ours.make(GrpcLive)
