import { TlsLive } from "../../src/Tls/TlsLive.js"
import * as Ours from "../ours.js"

export default Ours.make(TlsLive)
