import * as Tls from "effect-transport/Tls"
import * as Ours from "../ours.js"
import * as Waiting from "./waiting.js"

export default Ours.make(Tls.layer(Waiting.options), "address", Waiting.handlers)
