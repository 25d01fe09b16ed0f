namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>A part of the worker's life that comes up after those before it and goes down before them.</summary>
/// <remarks>Called by <see cref="StageSequence"/> alone, one stage at a time.</remarks>
public interface IStage
{
    /// <summary>For logs and the operator's page ("Life of a worker").</summary>
    string Name { get; }

    /// <summary>The longest that <see cref="DownAsync"/> takes by its own
    /// limits. Past it, and a little, the sequence goes on without it.</summary>
    TimeSpan DownLimit { get; }

    /// <summary>Brings the stage up. What it throws ends the start.</summary>
    Task UpAsync(CancellationToken cancellationToken);

    /// <summary>Takes down whatever is up, which is a part of it where <see
    /// cref="UpAsync"/> failed. Not called for a stage that never began.</summary>
    Task DownAsync(StopCause cause);
}
