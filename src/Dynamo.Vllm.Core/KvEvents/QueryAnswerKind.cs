namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>How a recovery query was answered.</summary>
public enum QueryAnswerKind
{
    TreeDump,
    Events,
    TooNew,
    InvalidRange,
    Failed,
    Refused,
}
