import { Memory } from "effect-transport"
import { transportSuite } from "../TransportSuite.js"

transportSuite("MemoryLive", Memory.layer)
