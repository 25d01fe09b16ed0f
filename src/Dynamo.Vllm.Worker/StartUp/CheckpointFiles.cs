namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>Files that hold the weights of a model.</summary>
internal static class CheckpointFiles
{
    private static readonly string[] Others = ["*.bin", "*.pt", "*.pth", "*.gguf"];

    /// <summary>Size of all of them; null where there are none, or nobody may look.</summary>
    /// <param name="model">A folder, or one file.</param>
    public static long? Bytes(string model)
    {
        try
        {
            if (File.Exists(model))
            {
                return Length(model);
            }

            // Where a checkpoint is there in two formats, vLLM takes this one.
            var files = Directory.GetFiles(model, "*.safetensors");
            var bytes = (files.Length > 0 ? files : Others.SelectMany(pattern => Directory.GetFiles(model, pattern))).Sum(Length);
            return bytes > 0 ? bytes : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Boundary mapping (style E3): it is only told; who needs the files says what is wrong with them.
            return null;
        }
    }

    /// <summary>In the cache of the hub's library each is a link.</summary>
    private static long Length(string path) =>
        (File.ResolveLinkTarget(path, returnFinalTarget: true) as FileInfo ?? new FileInfo(path)).Length;
}
