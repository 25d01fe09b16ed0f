namespace Dynamo.Vllm.Python.Platform;

/// <summary>How many descriptors this process may have open.</summary>
public static class DescriptorLimit
{
    /// <summary>Below it nobody could be served: an idle worker has some 200 open, and each caller needs a few.</summary>
    public const int Min = 384;

    private const int OpenFiles = 7;

    /// <summary>Raises the limit to what the system allows this process, and returns it.</summary>
    /// <remarks>The lower, soft one exists for programs that cannot count beyond 1,024. Children inherit the raised one.</remarks>
    public static long Raise()
    {
        var limit = default(NativeLibc.ResourceLimit);
        if (NativeLibc.GetLimit(OpenFiles, ref limit) != 0)
        {
            return int.MaxValue; // unknown; the caps have bounds of their own
        }

        var raised = new NativeLibc.ResourceLimit { Soft = limit.Hard, Hard = limit.Hard };
        var reached = NativeLibc.SetLimit(OpenFiles, raised) == 0 ? limit.Hard : limit.Soft;
        return reached > int.MaxValue ? int.MaxValue : (long)reached;
    }
}
