namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>What the failure of a loop means.</summary>
public enum LoopRule
{
    /// <summary>It is started again, after a wait. The worker serves without it until then.</summary>
    Restart,

    /// <summary>The worker must not go on without it.</summary>
    Fatal,
}
