import { Memory } from "effect-transport"
import { boundarySuite } from "../boundarySuite.js"

boundarySuite("MemoryLive", Memory.layer)
