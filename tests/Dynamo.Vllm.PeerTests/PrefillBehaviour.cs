namespace Dynamo.Vllm.PeerTests;

/// <summary>What a scripted prefill worker does with a request: one row of the failure matrix each (disaggregation.md, 7).</summary>
public enum PrefillBehaviour
{
    HandsOver,
    HandsOverWithLength,
    GivesEmptyParameters,
    GivesNoParameters,
    GivesNullParameters,
    StopsWithStop,
    EndsWithErrorReason,
    SendsErrorItem,
    SendsNothing,
    RefusesInThePrologue,
    DropsTheConnection,
    FailsAfterTheItem,
}
