namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>What vLLM does while the stage "engine" comes up, in the order in which it does it.</summary>
/// <remarks>Only forwards: ranks tell of the same step at different moments, and a draft model is loaded after the model.</remarks>
internal enum LoadPhase
{
    /// <summary>Its processes start, import vLLM and find each other and their devices.</summary>
    Processes,

    /// <summary>Files of the model are read.</summary>
    Weights,

    /// <summary>How much memory a forward pass takes is measured, and weights are brought into the form that kernels want.</summary>
    Memory,

    /// <summary>torch.compile.</summary>
    Compilation,

    /// <summary>The KV cache is made, kernels are warmed up (on a CPU: compiled) and CUDA graphs captured: some before
    /// the cache is made, to see what they take, and all of them after it.</summary>
    WarmUp,

    /// <summary>The engine is up; its front end in this process is not yet.</summary>
    FrontEnd,
}
