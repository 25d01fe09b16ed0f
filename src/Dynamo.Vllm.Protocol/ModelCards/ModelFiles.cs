namespace Dynamo.Vllm.Protocol.ModelCards;

/// <summary>The files of a model that its card names (llm-registration.md, 2.1). Null means absent.</summary>
public sealed record ModelFiles
{
    /// <summary><c>config.json</c>.</summary>
    public CheckedFile? ModelInfo { get; init; }

    public CheckedFile? Tokenizer { get; init; }

    /// <summary><c>hf_tokenizer_json</c> or <c>tik_token_model</c>.</summary>
    public string TokenizerKind { get; init; } = "hf_tokenizer_json";

    /// <summary><c>tokenizer_config.json</c>.</summary>
    public CheckedFile? PromptFormatter { get; init; }

    public CheckedFile? ChatTemplate { get; init; }

    /// <summary>The chat template is a <c>chat_template.json</c> instead of Jinja text.</summary>
    public bool IsChatTemplateJson { get; init; }

    /// <summary>The chat template was given by the operator, not by the model.</summary>
    public bool IsChatTemplateCustom { get; init; }

    /// <summary><c>generation_config.json</c>.</summary>
    public CheckedFile? GenerationConfig { get; init; }

    /// <summary>Siblings that are served along when this worker hosts its own files.</summary>
    public IReadOnlyList<CheckedFile> ExtraFiles { get; init; } = [];

    /// <summary>Context length of the architecture, or null if unknown.</summary>
    public uint? ArchitecturalContextLength { get; init; }

    /// <summary>The same files with each path replaced.</summary>
    public ModelFiles WithPaths(Func<CheckedFile, bool, string> path)
    {
        CheckedFile? Move(CheckedFile? file, bool isCustom = false) => file is null ? null : file with { Path = path(file, isCustom) };
        return this with
        {
            ModelInfo = Move(ModelInfo),
            Tokenizer = Move(Tokenizer),
            PromptFormatter = Move(PromptFormatter),
            ChatTemplate = Move(ChatTemplate, IsChatTemplateCustom),
            GenerationConfig = Move(GenerationConfig),
            ExtraFiles = [.. ExtraFiles.Select(file => Move(file)!)],
        };
    }
}
