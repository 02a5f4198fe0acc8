import { Memory } from "effect-transport"
import { boundarySuite } from "../suite/BoundarySuite.js"

boundarySuite("MemoryLive", { layer: Memory.layer })
