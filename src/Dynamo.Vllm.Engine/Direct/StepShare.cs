using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What one step did for one request.</summary>
/// <param name="Request">Gets its times.</param>
/// <param name="Tokens">New ones.</param>
/// <param name="Preemptions">That befell it since the last step.</param>
/// <param name="Prefill">Where its prompt came from; in the first output.</param>
/// <param name="Finish">How it ended, if it did.</param>
internal readonly record struct StepShare(DirectRequest Request, int Tokens, int Preemptions, PrefillCounts Prefill, FinishReason Finish);
