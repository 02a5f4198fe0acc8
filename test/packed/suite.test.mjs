/** The contract suite of the installed package, over its transport in memory. */
import { Memory } from "effect-transport"
import { transportSuite } from "effect-transport/testing"

transportSuite("MemoryLive", { layer: Memory.layer })
