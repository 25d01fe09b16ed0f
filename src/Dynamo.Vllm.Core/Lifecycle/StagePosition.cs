namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Where a <see cref="StageSequence"/> is.</summary>
/// <param name="Phase">In which part of its life.</param>
/// <param name="Stage">The stage that comes up or goes down; null in the other phases.</param>
/// <param name="Number">Which one that is, from 1 in the order of the start.</param>
/// <param name="Count">How many stages there are.</param>
public sealed record StagePosition(StagePhase Phase, IStage? Stage, int Number, int Count);
