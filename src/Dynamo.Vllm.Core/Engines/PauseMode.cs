namespace Dynamo.Vllm.Core.Engines;

/// <summary>What a pause does with the requests that run.</summary>
public enum PauseMode
{
    /// <summary>They stay and go on after the pause.</summary>
    Keep,

    /// <summary>The pause begins once they have ended.</summary>
    Wait,

    /// <summary>They end at once.</summary>
    Abort,
}
